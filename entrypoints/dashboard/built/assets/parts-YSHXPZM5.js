//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-KWPRS36G.js";import"./chunk-CYEKB2V7.js";export{a as Activity,b as Invitations,c as NewProject};
