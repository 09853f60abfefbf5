//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-BO4UZNLU.js";import"./chunk-HAPMC7JQ.js";export{a as Activity,b as Invitations,c as NewProject};
