//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-VVEOV6AP.js";import"./chunk-VW3LDEAR.js";export{a as Activity,b as Invitations,c as NewProject};
