//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-GMBEY3BY.js";import"./chunk-IUDLLNQU.js";export{a as Activity,b as Invitations,c as NewProject};
